"""A trained model as an HTTP service on Ray Serve, with a page to try it."""
