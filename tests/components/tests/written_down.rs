//! What is written down of the rooms and of the connectors is what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mantle_components::{connector_names, workspace_root};

type Words = BTreeSet<String>;

fn words(cell: &str) -> Words {
    // What stands in brackets is for people.
    let mut text = cell.to_owned();
    while let (Some(from), Some(to)) = (text.find('('), text.find(')')) {
        text.replace_range(from..=to, "");
    }
    let words = text.split(',').map(|word| word.trim().to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// Room: (what it may import, what it alone may name), as ARCHITECTURE.md has it.
fn table() -> Result<BTreeMap<String, (Words, Words)>> {
    let text = fs::read_to_string(workspace_root().join("ARCHITECTURE.md"))?;
    let (_, rest) = text
        .split_once("| room | may import | alone may name |\n")
        .context("ARCHITECTURE.md has no table of the rooms")?;
    let rows = rest.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, room, imports, names, _] = cells.as_slice() else {
            anyhow::bail!("not a row of three cells: {row}");
        };
        Ok(((*room).to_owned(), (words(imports), words(names))))
    })
    .collect()
}

/// Room: what its crate depends on, without what its tests alone need.
fn rooms() -> Result<BTreeMap<String, Words>> {
    let mut rooms = BTreeMap::new();
    for entry in fs::read_dir(workspace_root().join("host"))? {
        let folder = entry?.path();
        let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let manifest: toml::Table = text.parse()?;
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = dependencies.into_iter().flat_map(toml::Table::keys).cloned().collect();
        let room = folder
            .file_name()
            .and_then(|name| name.to_str())
            .context("a room's name")?;
        rooms.insert(room.to_owned(), names);
    }
    Ok(rooms)
}

#[test]
fn the_table_of_rooms_is_what_their_crates_import() -> Result<()> {
    let (table, rooms) = (table()?, rooms()?);
    assert_eq!(
        table.keys().collect::<Vec<_>>(),
        rooms.keys().collect::<Vec<_>>(),
        "the rooms"
    );
    for (room, (imports, _)) in &table {
        let imported: Words = rooms[room]
            .iter()
            .filter_map(|name| name.strip_prefix("mantle-").map(str::to_owned))
            .collect();
        let told: Words = if imports.contains("everything but failpoint") {
            let all = rooms.keys().filter(|other| *other != room && *other != "failpoint");
            all.cloned().collect()
        } else {
            imports.clone()
        };
        assert_eq!(imported, told, "what {room} imports");
    }
    Ok(())
}

#[test]
fn what_one_room_alone_may_name_no_other_names() -> Result<()> {
    let (table, rooms) = (table()?, rooms()?);
    let mut seen = 0;
    for (room, (_, alone)) in &table {
        for name in alone {
            for (other, dependencies) in &rooms {
                if dependencies.contains(name) {
                    assert_eq!(other, room, "{other} names {name}, which is {room}'s");
                    seen += 1;
                }
            }
        }
    }
    ensure!(
        seen >= 6,
        "only {seen} names of the table were found among the dependencies"
    );
    Ok(())
}

/// Source files of the folder, without those of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if ["tests", "testing"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn files_and_the_environment_are_read_where_the_map_says() -> Result<()> {
    let check = |needles: &[&str], expected: &[&str]| -> Result<()> {
        let mut found = BTreeSet::new();
        for room in rooms()?.into_keys() {
            let mut files = Vec::new();
            sources(&workspace_root().join("host").join(&room).join("src"), &mut files)?;
            for file in files {
                let text = fs::read_to_string(&file)?;
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                if needles.iter().any(|needle| code.contains(needle)) {
                    found.insert(room.clone());
                }
            }
        }
        let expected: BTreeSet<String> = expected.iter().map(|room| (*room).to_owned()).collect();
        assert_eq!(found, expected, "{needles:?}");
        Ok(())
    };
    check(&["std::fs", "tokio::fs"], &["app", "kit", "sandbox", "store", "supply"])?;
    check(&["env::var"], &["app"])?;
    check(&["signal::unix"], &["app"])
}

#[test]
fn a_connectors_readme_names_every_field_and_what_it_is() -> Result<()> {
    for name in connector_names()? {
        let folder = workspace_root().join("connectors").join(&name);
        let readme = fs::read_to_string(folder.join("README.md")).with_context(|| format!("the README of {name}"))?;
        let manifest: toml::Table = fs::read_to_string(folder.join("connector.toml"))?.parse()?;
        let about = manifest["connector"]["name"].as_str().context("a name")?;
        assert!(
            readme.contains(&format!("mantle channel add --plugin {about}")),
            "connectors/{name}/README.md does not show `mantle channel add --plugin {about}`"
        );
        for field in manifest["fields"].as_array().context("fields")? {
            let field = field["name"].as_str().context("a field's name")?;
            assert!(
                readme.contains(&format!("`{field}`")),
                "connectors/{name}/README.md does not explain the field `{field}`"
            );
            assert!(
                readme.contains(&format!("--field {field}=")),
                "{name}: {field} is not in the example"
            );
        }
    }
    Ok(())
}
