//! What is written for users agrees with the program: the README's configuration, and the list of fields.
//! `UPDATE_DOCS=1 cargo test --test documents` writes the list anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::fmt::Write as _;

use common::{config_with, root};
use imdswatch::event::fields::{FIELDS, Origin};

#[test]
fn the_configuration_in_the_readme_can_be_used() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).peekable();
    assert!(blocks.peek().is_some());
    for block in blocks {
        config_with(&[], block);
    }
}

#[test]
fn the_list_of_fields_is_current() {
    let mut list = String::from(
        "# Fields\n\nEvery key that events can have. `*` stands for any name. `imdswatch mapping` prints the index template of those\n\
         that neither ECS nor Packetbeat's template defines.\n\n| field | type | defined by |\n|---|---|---|\n",
    );
    for field in FIELDS {
        let origin = match field.origin {
            Origin::Ecs => "ECS",
            Origin::Packetbeat => "Packetbeat",
            Origin::Ours => "imdswatch",
        };
        writeln!(list, "| `{}` | {} | {origin} |", field.name, field.kind).unwrap();
    }
    let path = root().join("docs/fields.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &list).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, list, "run UPDATE_DOCS=1 cargo test --test documents");
}
