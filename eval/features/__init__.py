"""A network and videos -> feature vectors; and simple classifiers on vectors."""
