"""Compare two finished runs over the same corpus: is b better than a, beyond chance variation between speakers?"""

from raysys.commands.compare import main

if __name__ == "__main__":
    main()
