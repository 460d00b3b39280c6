"""Ships changes between paired DCs."""
