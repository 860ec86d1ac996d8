//! `cargo connectors`: builds every connector to `connectors/<name>.wasm`.

use anyhow::Result;

fn main() -> Result<()> {
    let names = mantle_components::connector_names()?;
    println!("Building {} connectors: {} …", names.len(), names.join(", "));
    let folder = mantle_components::build()?;
    for name in names {
        let file = folder.join(format!("{name}.wasm"));
        println!("  connectors/{name}.wasm  {} KB", std::fs::metadata(file)?.len() / 1000);
    }
    Ok(())
}
