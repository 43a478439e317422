//! Servers for phase6's tests. Each follows the public reference of its service where the emulators do not, and refuses what
//! the reference does not know. They know nothing of phase6 and share no code with it.

pub mod emulators;
pub mod monitoring;
