//! Stories of two endpoints, told through the public interface.

mod establish;
