//! What can go wrong with a request: kind, side, and whether another try may help.
