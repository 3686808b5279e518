//! Turns the compiled dashboard into the files that a browser loads.
//!
//! ```text
//! nexplane-bindgen WASM STATIC OUT
//! ```
//!
//! `WASM` is what rustc made of `nexplane-frontend`, `STATIC` the folder of hand-written files, `OUT`
//! the folder to make. `OUT` afterwards holds `index.html` and, below `assets/`, every other file
//! under a name with a hash of its content, so that browsers may keep it for ever. Text and
//! WebAssembly get a brotli twin beside them, `NAME.br`, where that is smaller: compressed once here
//! instead of at every request.
//!
//! `index.html` is a template: `{{theme.js}}` becomes the address of `STATIC/theme.js`, and so on for
//! every static file and for the four that are made here: `boot.js`, `app.js`, `app.wasm`, and `app.css`,
//! which is every file of `STATIC/style` in the order of their names.
//!
//! The library behind the `wasm-bindgen` command is linked in, from the same lock file as the
//! dashboard's `wasm-bindgen`: the two can never be of different versions, and nobody has to install
//! a tool. Deliberately absent: minifying, bundling, source maps, and snippets of JavaScript from
//! other crates (refused with an error, because their names would carry no hash).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use wasm_bindgen_cli_support::Bindgen;

/// Largest window and best compression: the files are made once and sent often.
const BROTLI_QUALITY: u32 = 11;
const BROTLI_WINDOW_BITS: u32 = 22;
const BROTLI_BUFFER_BYTES: usize = 64 * 1024;

/// The folder with the parts of `app.css`.
const STYLE: &str = "style";

/// Formats that are compressed already gain nothing from a twin.
const COMPRESSIBLE: [&str; 7] = ["css", "html", "js", "json", "svg", "txt", "wasm"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nexplane-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [wasm, statics, out] = args.as_slice() else {
        bail!("usage: nexplane-bindgen WASM STATIC OUT");
    };

    // Built beside the old folder and swapped in whole: a server that reads it sees old or new.
    let fresh = out.with_extension("new");
    remove_folder(&fresh)?;
    fs::create_dir_all(fresh.join("assets")).context("creating the output folder")?;

    let assets = collect(wasm, statics)?;
    for asset in assets.values() {
        write_with_twin(&fresh.join("assets").join(&asset.file), &asset.bytes)?;
    }
    let template = fs::read_to_string(statics.join("index.html")).context("reading index.html")?;
    let index = fill(&template, &assets)?;
    write_with_twin(&fresh.join("index.html"), index.as_bytes())?;

    remove_folder(out)?;
    fs::rename(&fresh, out).with_context(|| format!("moving {} into place", fresh.display()))
}

/// One file below `assets/`.
struct Asset {
    /// Name with the hash in it: `app-0123456789abcdef.css`.
    file: String,
    bytes: Vec<u8>,
}

impl Asset {
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self { file: hashed_name(name, &bytes), bytes }
    }

    fn url(&self) -> String {
        format!("/assets/{}", self.file)
    }
}

/// Every asset, under the name that the template uses for it.
fn collect(wasm: &Path, statics: &Path) -> Result<BTreeMap<String, Asset>> {
    let mut assets = BTreeMap::new();
    for entry in fs::read_dir(statics).with_context(|| format!("listing {}", statics.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name in UTF-8")?;
        if name == STYLE {
            continue;
        }
        ensure!(path.is_file(), "{} is a folder: static files lie flat", path.display());
        if name != "index.html" {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            assets.insert(name.to_owned(), Asset::new(name, bytes));
        }
    }

    let (js, wasm) = bind(wasm)?;
    let js = Asset::new("app.js", js);
    let wasm = Asset::new("app.wasm", wasm);
    let boot = Asset::new("boot.js", boot_script(&js.url(), &wasm.url()).into_bytes());
    let css = Asset::new("app.css", style(&statics.join(STYLE))?);
    for (name, asset) in [("app.js", js), ("app.wasm", wasm), ("boot.js", boot), ("app.css", css)] {
        let taken = assets.insert(name.to_owned(), asset).is_some();
        ensure!(!taken, "{name} is made by this tool: rename the static file");
    }
    Ok(assets)
}

/// One sheet out of all, so that a browser asks once.
fn style(folder: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).with_context(reading)?;
    let mut sheets = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .with_context(reading)?;
    sheets.sort();
    ensure!(!sheets.is_empty(), "{} is empty", folder.display());
    let mut all = Vec::new();
    for sheet in sheets {
        all.extend(fs::read(&sheet).with_context(|| format!("reading {}", sheet.display()))?);
    }
    Ok(all)
}

/// JavaScript glue and final WebAssembly of a compiled module.
fn bind(wasm: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(wasm)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true);
    let mut output =
        bindgen.generate_output().with_context(|| format!("binding {}", wasm.display()))?;
    // Every crate that takes part is listed, most with nothing.
    let inline = output.snippets().iter().filter(|(_, scripts)| !scripts.is_empty());
    let foreign: Vec<&String> =
        inline.map(|(name, _)| name).chain(output.local_modules().keys()).collect();
    ensure!(foreign.is_empty(), "JavaScript snippets are not supported: {foreign:?}");
    let js = output.js().as_bytes().to_vec();
    Ok((js, output.wasm_mut().emit_wasm()))
}

/// The only script the page names. A file of its own, because the content security policy allows no
/// inline script.
fn boot_script(js_url: &str, wasm_url: &str) -> String {
    format!(
        r#"import init from "{js_url}";
init({{ module_or_path: "{wasm_url}" }}).catch((error) => {{
  document.body.textContent = `The dashboard could not start: ${{error}}`;
  throw error;
}});
"#
    )
}

/// `app.css` with its content's hash becomes `app-0123456789abcdef.css`.
fn hashed_name(name: &str, bytes: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(bytes));
    let short: String = digest.chars().take(16).collect();
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}-{short}.{extension}"),
        None => format!("{name}-{short}"),
    }
}

/// Puts addresses in the place of `{{name}}`; a name without a file is an error.
fn fill(template: &str, assets: &BTreeMap<String, Asset>) -> Result<String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("index.html: {{ without }}")?;
        let asset = assets.get(name.trim()).with_context(|| {
            format!("index.html names {}, which is no static file", name.trim())
        })?;
        filled.push_str(before);
        filled.push_str(&asset.url());
        rest = after;
    }
    filled.push_str(rest);
    ensure!(filled.contains("/assets/boot-"), "index.html does not load {{{{boot.js}}}}");
    Ok(filled)
}

fn write_with_twin(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    fs::write(path, bytes).with_context(writing)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let mut sent = bytes.len();
    if COMPRESSIBLE.contains(&extension) {
        let twin = compress(bytes).with_context(writing)?;
        if twin.len() < bytes.len() {
            fs::write(path.with_extension(format!("{extension}.br")), &twin)
                .with_context(writing)?;
            sent = twin.len();
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    eprintln!("{name:<32} {:>8} bytes, {sent:>7} on the wire", bytes.len());
    Ok(())
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(
        &mut compressed,
        BROTLI_BUFFER_BYTES,
        BROTLI_QUALITY,
        BROTLI_WINDOW_BITS,
    );
    writer.write_all(bytes)?;
    drop(writer); // writes the end of the stream
    Ok(compressed)
}

fn remove_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets(names: &[(&str, &str)]) -> BTreeMap<String, Asset> {
        let asset = |(name, text): &(&str, &str)| {
            ((*name).to_owned(), Asset::new(name, text.as_bytes().to_vec()))
        };
        names.iter().map(asset).collect()
    }

    #[test]
    fn a_name_follows_the_content() {
        let one = hashed_name("app.css", b"one");
        assert_eq!(one, hashed_name("app.css", b"one"));
        assert_ne!(one, hashed_name("app.css", b"two"));
        assert_eq!(one, "app-7692c3ad3540bb80.css");
    }

    #[test]
    fn a_template_gets_the_addresses() {
        let assets = assets(&[("app.css", "one"), ("boot.js", "two")]);
        let page = fill("<a {{app.css}}> <b {{ boot.js }}>", &assets).unwrap();
        assert_eq!(
            page,
            "<a /assets/app-7692c3ad3540bb80.css> <b /assets/boot-3fc4ccfe745870e2.js>"
        );
    }

    #[test]
    fn a_template_that_names_no_file_is_refused() {
        let error = fill("{{missing.css}}", &assets(&[])).unwrap_err();
        assert_eq!(error.to_string(), "index.html names missing.css, which is no static file");
    }

    #[test]
    fn a_page_without_the_boot_script_is_refused() {
        let error = fill("<p>", &assets(&[])).unwrap_err();
        assert_eq!(error.to_string(), "index.html does not load {{boot.js}}");
    }

    #[test]
    fn the_boot_script_names_both_files() {
        let script = boot_script("/assets/app-1.js", "/assets/app-2.wasm");
        assert!(script.contains(r#"from "/assets/app-1.js""#));
        assert!(script.contains(r#"module_or_path: "/assets/app-2.wasm""#));
    }
}
