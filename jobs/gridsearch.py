"""Search a grid (the paper's alpha and beta unless told otherwise) over all folds, and train the final model."""

from raysys.commands.gridsearch import main

if __name__ == "__main__":
    main()
