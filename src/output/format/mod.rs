//! Events as bytes. Formats may add members around an event; they never reorder, change or drop what is in it.

pub(super) mod json;
