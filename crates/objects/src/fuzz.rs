//! What the fuzz targets call: arbitrary bytes as a configuration, and as lines of the command line.

use schema::{Context, Workspace};

use crate::{HostInterface, compile, tree};

/// A configuration file: read, written, read again, compiled.
pub fn configuration(data: &[u8]) {
    let hosts = hosts();
    let text = String::from_utf8_lossy(data);
    let (loaded, _) = crate::load(&text, &hosts);
    let _ = compile(&loaded, &hosts);
    schema::fuzz::file(&tree(&[]), data);
}

/// Lines of the command line, each also completed; then what they made is compiled.
pub fn command_line(data: &[u8]) {
    let hosts = hosts();
    let mut workspace = Workspace::new(tree(&hosts));
    let mut context = Context::default();
    schema::fuzz::line(&mut workspace, &mut context, data);
    let _ = compile(&workspace.candidate, &hosts);
}

fn hosts() -> Vec<HostInterface> {
    let host = |name: &str, address: [u8; 4]| HostInterface {
        name: name.to_owned(),
        addresses: vec![(address.into(), 24)],
        mtu: 1500,
        gateways: Vec::new(),
    };
    vec![host("lan", [172, 16, 1, 1]), host("wan", [198, 51, 100, 1])]
}
