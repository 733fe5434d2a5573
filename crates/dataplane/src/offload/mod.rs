//! Work that network cards do for others and we do for ourselves: completing checksums, cutting one large packet into the
//! segments it stands for, and putting segments together again. [`base::Offload`] says what is left to be done.

mod checksum;
mod merge;
mod segment;

pub use checksum::{complete_checksum, write_partial_checksum};
pub use merge::{Merged, Merger, Run, TrainMerger};
pub use segment::{SEGMENTS_MAX, Segmenter, Uncuttable};

#[cfg(test)]
mod tests;
