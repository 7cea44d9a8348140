//! Files in, reports out.
