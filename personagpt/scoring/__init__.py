"""How good a model is: the metrics, and the true response among its candidates."""
