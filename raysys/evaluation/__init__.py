"""How good a trained model is on another corpus, and how it bears what recordings meet outside a studio."""
