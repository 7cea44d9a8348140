//! The scheduler with a trainer made of shell.
