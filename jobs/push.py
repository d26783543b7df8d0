"""Upload a trained model to the Hugging Face Hub."""

from raysys.commands.push import main

if __name__ == "__main__":
    main()
