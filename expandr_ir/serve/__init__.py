"""A server over collections: searches with expansions by REST. It may import every room below; the CLI starts it."""
