//! Behaviour of the API against a fake node.
