"""Large data sets in shards: each is computed once, written whole or not at all, and merged at the end."""
