//! The store: the only code that names redb.

pub mod clock;
pub mod disk;
