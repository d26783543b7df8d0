"""Train the full model and its variants over the same folds and seeds, and compare each with the full model."""

from raysys.commands.ablation import main

if __name__ == "__main__":
    main()
