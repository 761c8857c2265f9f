//! Metrics pages: parse and print them; the registry of the program's own instruments.
