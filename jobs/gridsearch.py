"""Search a grid (by default the paper's alpha and beta) over all folds, and train the final model."""

from raysys.commands.gridsearch import main

if __name__ == "__main__":
    main()
