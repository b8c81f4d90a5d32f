//! Tests of the register: see the simulations below.
