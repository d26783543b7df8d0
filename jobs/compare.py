"""Compare two finished runs over the same corpus: does b beat a, and by more than chance among speakers would give?"""

from raysys.commands.compare import main

if __name__ == "__main__":
    main()
