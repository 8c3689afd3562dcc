//! `casemate image list`: which images there are.

use casemate_images::{Image, ImageError, Listed};
use casemate_model::one_line;
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    image::{Format, existing_store},
    report::{self, Delivery, Failure},
};

const MIB: u64 = 1024 * 1024;

pub(crate) fn run(format: Format) -> Result<Exit, Failure> {
    let images = match existing_store()? {
        Some(store) => store.list().map_err(Failure::failed)?,
        None => Vec::new(),
    };
    let mut exit = Exit::Success;
    for listed in &images {
        if listed.image.is_err() {
            exit = Exit::Invalid;
        }
        let line = match format {
            Format::Json => as_json(listed).to_string(),
            Format::Lines => as_line(listed),
        };
        if report::deliver(format_args!("{line}\n"))? == Delivery::Unwanted {
            break;
        }
    }
    Ok(exit)
}

fn as_line(listed: &Listed) -> String {
    let digest = listed.digest;
    match &listed.image {
        Ok(image) => {
            let Image { name, manifest, .. } = image;
            let packages = manifest.packages.len();
            let mib = manifest.tree.bytes.div_ceil(MIB);
            let python = &manifest.python.version;
            let age = if listed.names.contains(name) {
                ""
            } else {
                ", not the newest of this name"
            };
            format!("{name} {digest}: Python {python}, {packages} packages, {mib} MiB{age}")
        }
        Err(error) => format!("- {digest}: {}", said(error)),
    }
}

fn as_json(listed: &Listed) -> Value {
    let Listed {
        digest,
        names,
        image,
    } = listed;
    match image {
        Ok(image) => json!({
            "image": digest,
            "name": image.name,
            "named_by": names,
            "manifest": image.manifest,
            "tree": image.tree,
        }),
        Err(error) => json!({"image": digest, "named_by": names, "error": said(error)}),
    }
}

fn said(error: &ImageError) -> String {
    one_line(error)
}
