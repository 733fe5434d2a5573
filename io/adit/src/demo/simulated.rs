//! x
use super::{Delivery, Echoes, Office, Stage};
use crate::exit::Exit;
/// x
pub struct Simulated;
impl Simulated {
    /// x
    pub fn build() -> Result<Self, Exit> {
        Err(Exit::failed("x"))
    }
}
impl Stage for Simulated {
    fn describe(&self) -> &'static str {
        ""
    }
    fn transfer_size(&self) -> u64 {
        0
    }
    fn ping(&mut self, from: Office, count: u32) -> Result<Echoes, Exit> {
        loop {}
    }
    fn transfer(&mut self, from: Office, bytes: u64) -> Result<Delivery, Exit> {
        loop {}
    }
    fn command(&mut self, line: &str) -> Result<String, Exit> {
        loop {}
    }
    fn log(&mut self, office: Office) -> Result<Vec<String>, Exit> {
        loop {}
    }
    fn wire(&mut self) -> Result<Vec<Vec<u8>>, Exit> {
        loop {}
    }
    fn console(&mut self) -> Result<(), Exit> {
        loop {}
    }
}
