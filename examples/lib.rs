//! Holds the examples of `p2p`; each is a program of its own beside this file.
