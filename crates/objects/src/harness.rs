//! What the fuzz targets call: arbitrary bytes as a configuration, and as lines of the command line.

use std::sync::LazyLock;

use schema::{Context, Tree, Workspace};

use crate::{HostInterface, compile, tree};

static HOSTS: LazyLock<Vec<HostInterface>> = LazyLock::new(|| {
    let host = |name: &str, address: [u8; 4]| HostInterface {
        name: name.to_owned(),
        addresses: vec![(address.into(), 24)],
        mtu: 1500,
        gateways: Vec::new(),
        leases: Vec::new(),
    };
    vec![host("lan", [172, 16, 1, 1]), host("wan", [198, 51, 100, 1])]
});

static TREE: LazyLock<Tree> = LazyLock::new(|| tree(&HOSTS));

/// A configuration file: read, written, read again, compiled.
pub fn configuration(bytes: &[u8]) {
    let mut loaded = TREE.clone();
    schema::read(&mut loaded, &String::from_utf8_lossy(bytes));
    let _ = compile(&loaded, &HOSTS);
    schema::harness::file(&TREE, bytes);
}

/// Lines of the command line, each also completed; then what they made is compiled.
pub fn command_line(bytes: &[u8]) {
    let mut workspace = Workspace::new(TREE.clone());
    let mut context = Context::default();
    schema::harness::line(&mut workspace, &mut context, bytes);
    let _ = compile(&workspace.candidate, &HOSTS);
}
