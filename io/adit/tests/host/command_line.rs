//! What the program says, and with which status it ends.

use crate::bench::{Folder, adit, example, text};

const HEAD_OFFICE: [&str; 4] = ["--interface", "lan=172.16.1.1/24", "--interface", "wan=198.51.100.1/24"];
const BRANCH: [&str; 4] = ["--interface", "lan=192.168.11.1/24", "--interface", "wan=203.0.113.1/24"];

fn check(file: &str, interfaces: [&str; 4]) -> std::process::Output {
    adit(&[&["check", file], interfaces.as_slice()].concat())
}

pub fn the_program_names_its_version() {
    let output = adit(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output), format!("adit {}\n", env!("CARGO_PKG_VERSION")));
}

pub fn the_examples_have_no_errors() {
    for (name, interfaces) in [("head-office.adit", HEAD_OFFICE), ("branch.adit", BRANCH)] {
        let output = check(&example(name), interfaces);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

pub fn a_configuration_with_errors_has_status_1_and_shows_where() {
    let folder = Folder::new();
    // The guide's own slip: the key is made under one name and used under another.
    let original = std::fs::read_to_string(example("head-office.adit")).unwrap();
    let file = folder.write("slip.adit", &original.replace("add PSK my_secret_key", "add PSK my_scecret_key"));
    let output = check(&file, HEAD_OFFICE);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let line = original.lines().position(|line| line.trim() == "PSK=my_secret_key").unwrap() + 1;
    assert!(said.contains(&format!("slip.adit:{line}:9: Error")), "{said}");
    assert!(said.contains("^^^^^^^^^^^^^"), "{said}");
    assert!(said.contains("my_scecret_key?"), "{said}");
    assert!(!said.contains("somesecretasciikey"), "{said}");
}

pub fn a_file_that_is_not_there_has_status_2() {
    for command in ["check", "run"] {
        let output = adit(&[command, "/nowhere/hq.adit"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).starts_with("adit: /nowhere/hq.adit cannot be read: No such file"), "{}", text(&output));
    }
}

pub fn a_command_that_is_not_there_has_status_2() {
    assert_eq!(adit(&["ruin"]).status.code(), Some(2));
    assert_eq!(adit(&["check"]).status.code(), Some(2));
    assert_eq!(adit(&["check", &example("branch.adit"), "--interface", "lan"]).status.code(), Some(2));
}

pub fn without_a_gateway_the_command_line_says_how_to_start_one() {
    let folder = Folder::new();
    let output = adit(&["cli", "--control", &folder.file("absent.sock"), "show"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output);
    assert!(said.contains("no gateway answers") && said.contains("adit run"), "{said}");
}

pub fn the_demo_tells_its_story_and_ends_by_itself() {
    let output = adit(&["demo"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("head office (172.16.1.10) pings branch (192.168.11.10): 4 of 4 answered"), "{said}");
    assert!(said.contains("branch (192.168.11.10) pings head office (172.16.1.10): 4 of 4 answered"), "{said}");
    assert_eq!(said.matches(" as sent\n").count(), 2, "{said}");
    assert!(said.contains(" IKE_AUTH response 1"), "{said}");
    assert!(!said.contains("somesecretasciikey"), "{said}");
}
