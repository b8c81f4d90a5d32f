//! Membership by ticket with a clock of the test.
