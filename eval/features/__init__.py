"""From networks and videos to vectors, and what simple classifiers make of vectors."""
