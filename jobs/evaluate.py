"""Score a trained model on another corpus, and under noise, telephone, rooms and the like."""

from raysys.commands.evaluate import main

if __name__ == "__main__":
    main()
