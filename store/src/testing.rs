//! Storage that crashes, fills up and fails, for tests.
