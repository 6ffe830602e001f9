//! Embeds the descriptors of Envoy's API: the crate `envoy-types` ships them in its source folder without exporting them.
//! What only documents is left out, and `xds.type.v3.TypedStruct`, which is missing there, is added.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::MetadataCommand;
use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const CRATE: &str = "envoy-types";
const DESCRIPTORS: &str = "src/generated/types.bin";
/// What a bootstrap can name directly or in a `typed_config`, and files of resources; what these import is kept, too.
const ROOTS: [&str; 4] = [
    "envoy.config.",
    "envoy.extensions.",
    "envoy.service.discovery.",
    "xds.",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let lock = Path::new("../Cargo.lock");
    if lock.exists() {
        println!("cargo::rerun-if-changed={}", lock.display());
    }
    let file = find()?.join(DESCRIPTORS);
    println!("cargo::rerun-if-changed={}", file.display());
    let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut set = prune(FileDescriptorSet::decode(bytes.as_slice())?);
    set.file.push(typed_struct());
    let out = PathBuf::from(env::var("OUT_DIR")?).join("envoy.bin");
    fs::write(&out, set.encode_to_vec())?;
    Ok(())
}

/// The source folder of the crate: asked of cargo, first without touching the network or the lock file, then as cargo likes;
/// at last looked for where cargo keeps sources.
fn find() -> Result<PathBuf, Box<dyn Error>> {
    let mut options = vec!["--frozen".to_owned()];
    if let Ok(target) = env::var("TARGET") {
        // Else crates of other platforms would be needed.
        options.extend(["--filter-platform".to_owned(), target]);
    }
    let mut reasons = Vec::new();
    for options in [options, Vec::new()] {
        match MetadataCommand::new().other_options(options).exec() {
            Ok(metadata) => {
                let package = metadata
                    .packages
                    .iter()
                    .find(|package| package.name.as_str() == CRATE);
                if let Some(folder) = package.and_then(|package| package.manifest_path.parent()) {
                    return Ok(folder.to_path_buf().into());
                }
                reasons.push(format!("cargo metadata does not list {CRATE}"));
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    in_registry().ok_or_else(|| {
        format!(
            "the source folder of {CRATE} was not found: {}",
            reasons.join("; ")
        )
        .into()
    })
}

fn in_registry() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let mut found: Vec<PathBuf> = fs::read_dir(home.join("registry/src"))
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|registry| fs::read_dir(registry.path()).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|folder| {
            let name = folder.file_name();
            name.to_string_lossy().starts_with(&format!("{CRATE}-0.7."))
        })
        .map(|folder| folder.path())
        .collect();
    found.sort();
    found.pop()
}

fn prune(set: FileDescriptorSet) -> FileDescriptorSet {
    let files: BTreeMap<String, FileDescriptorProto> = set
        .file
        .into_iter()
        .map(|file| (file.name().to_owned(), file))
        .collect();
    let mut wanted: Vec<&str> = files
        .values()
        .filter(|file| ROOTS.iter().any(|root| file.package().starts_with(root)))
        .map(FileDescriptorProto::name)
        .collect();
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if kept.insert(name)
            && let Some(file) = files.get(name)
        {
            wanted.extend(file.dependency.iter().map(String::as_str));
        }
    }
    let file = files
        .values()
        .filter(|file| kept.contains(file.name()))
        .map(|file| FileDescriptorProto {
            source_code_info: None,
            service: Vec::new(),
            ..file.clone()
        })
        .collect();
    FileDescriptorSet { file }
}

fn typed_struct() -> FileDescriptorProto {
    let field = |name: &str, number, kind: Type, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some("xds/type/v3/typed_struct.proto".to_owned()),
        package: Some("xds.type.v3".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: vec![DescriptorProto {
            name: Some("TypedStruct".to_owned()),
            field: vec![
                field("type_url", 1, Type::String, None),
                field("value", 2, Type::Message, Some(".google.protobuf.Struct")),
            ],
            ..DescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    }
}
