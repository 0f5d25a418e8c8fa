"""A talk under way, and the talks on record."""
