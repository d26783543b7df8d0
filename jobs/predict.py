"""Apply a trained model to recordings: files, folders, patterns, tables, on disks or in object stores."""

from raysys.commands.predict import main

if __name__ == "__main__":
    main()
