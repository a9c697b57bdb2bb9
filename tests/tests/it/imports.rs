//! No circles: the `use` lines of every crate form a graph without a cycle, between files and between
//! the folders and files of one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::architecture::{CRATES, read, root, sources_of};

/// Path of a module within its crate: empty for the root, `["http", "works"]` for `http/works.rs`.
type Module = Vec<String>;

/// The modules of one crate, each with its text.
struct Crate {
    name: &'static str,
    modules: BTreeMap<Module, String>,
    /// Names that a module re-exports, each with the path it stands for.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    fn load(name: &'static str) -> Self {
        let source = root().join(name).join("src");
        let modules: BTreeMap<Module, String> = sources_of(name)
            .iter()
            .map(|path| {
                (module(path.strip_prefix(&source).expect("a source")), production(&read(path)))
            })
            .collect();
        let mut of = Self { name, modules, exports: BTreeMap::new() };
        for (module, text) in &of.modules {
            let exported: BTreeMap<String, Module> = imports(text)
                .into_iter()
                .filter(|import| import.exported)
                .filter_map(|import| Some((import.name, of.absolute(module, &import.path)?)))
                .collect();
            of.exports.insert(module.clone(), exported);
        }
        of
    }

    /// A path of a `use` line as a path from the root of the crate; None if it leaves the crate.
    fn absolute(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut at = from.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => (at, rest) = (Module::new(), &path[1..]),
            Some("self") => rest = &path[1..],
            Some("super") => {
                while let Some((first, others)) = rest.split_first()
                    && first == "super"
                {
                    at.pop();
                    rest = others;
                }
            }
            // A bare path names a child module, or another crate.
            Some(first) => {
                let child: Module = from.iter().cloned().chain([first.to_owned()]).collect();
                if !self.modules.contains_key(&child) {
                    return None;
                }
            }
            None => return None,
        }
        Some(at.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The module that defines what `path` names, through any number of re-exports.
    fn definition(&self, path: &Module) -> Option<Module> {
        let mut path = path.clone();
        for _ in 0..16 {
            let depth =
                (0..=path.len()).rev().find(|depth| self.modules.contains_key(&path[..*depth]))?;
            let module = path[..depth].to_vec();
            let target = path.get(depth).and_then(|name| self.exports[&module].get(name));
            match target {
                Some(target) => {
                    path = target.iter().chain(&path[depth + 1..]).cloned().collect();
                }
                None => return Some(module),
            }
        }
        None
    }

    /// For each module, the modules that its `use` lines take something from.
    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let taken = |module: &Module, text: &str| {
            imports(text)
                .into_iter()
                .filter(|import| !import.exported)
                .filter_map(|import| self.definition(&self.absolute(module, &import.path)?))
                .filter(|target| target != module)
                .collect()
        };
        self.modules.iter().map(|(module, text)| (module.clone(), taken(module, text))).collect()
    }

    /// The files of a circle, for a message.
    fn files(&self, circle: &[&Module]) -> String {
        let file = |module: &&Module| format!("{}/src/{}", self.name, module.join("/"));
        circle.iter().map(file).collect::<Vec<_>>().join(" -> ")
    }
}

/// One name that a `use` line brings in.
struct Import {
    path: Module,
    name: String,
    exported: bool,
}

/// The module of a file: `http/mod.rs` and `http/works.rs` become `http` and `http::works`.
fn module(path: &Path) -> Module {
    let mut parts: Module = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The text without its tests, which stand last in a file.
fn production(text: &str) -> String {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Every name that the `use` lines at the margin of `text` bring in.
fn imports(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut tested = false;
    while let Some(line) = rest.lines().next() {
        let begins = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
        let begin = begins.into_iter().find(|begin| line.starts_with(begin));
        if let (Some(begin), Some(end)) = (begin, rest.find(';')) {
            if !tested {
                expand(&rest[begin.len()..end], &[], begin != "use ", &mut found);
            }
            rest = &rest[end + 1..];
        } else {
            rest = &rest[line.len()..];
        }
        tested = line == "#[cfg(test)]";
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    found
}

/// Resolves the groups of one `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str, before: &[String], exported: bool, found: &mut Vec<Import>) {
    let tree = tree.trim();
    let group = tree.find('{');
    let head = &tree[..group.unwrap_or(tree.len())];
    let (plain, alias) = head.split_once(" as ").map_or((head, None), |(a, b)| (a, Some(b.trim())));
    let mut path = before.to_vec();
    path.extend(
        plain.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned),
    );
    let Some(group) = group else {
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = alias.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
        found.push(Import { path, name, exported });
        return;
    };
    let inner = tree[group + 1..].trim_end().trim_end_matches('}');
    let (mut depth, mut start) = (0, 0);
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&inner[start..at], &path, exported, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A cycle of `edges`, if there is one.
fn cycle(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<&Module>> {
    fn visit<'a>(
        at: &'a Module,
        edges: &'a BTreeMap<Module, BTreeSet<Module>>,
        path: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<&'a Module>> {
        if let Some(begin) = path.iter().position(|visited| *visited == at) {
            return Some(path[begin..].to_vec());
        }
        if !done.insert(at) {
            return None;
        }
        path.push(at);
        let found = edges.get(at)?.iter().find_map(|next| visit(next, edges, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| visit(module, edges, &mut Vec::new(), &mut done))
}

#[test]
fn no_two_files_import_each_other() {
    let circles: Vec<_> = CRATES
        .into_iter()
        .filter_map(|name| {
            let of = Crate::load(name);
            cycle(&of.edges()).map(|cycle| of.files(&cycle))
        })
        .collect();
    assert!(circles.is_empty(), "files import each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn no_two_folders_import_each_other() {
    let mut circles = Vec::new();
    for of in CRATES.map(Crate::load) {
        let edges = of.edges();
        let folders: BTreeSet<&[String]> = of
            .modules
            .keys()
            .filter_map(|module| module.split_last())
            .map(|(_, folder)| folder)
            .collect();
        for folder in folders {
            // Each entry of the folder stands for everything under it.
            let entry = |module: &Module| {
                let inside = module.starts_with(folder) && module.len() > folder.len();
                inside.then(|| module[..=folder.len()].to_vec())
            };
            let mut siblings: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
            for (module, targets) in &edges {
                let Some(from) = entry(module) else { continue };
                let targets = targets.iter().filter_map(entry).filter(|target| *target != from);
                siblings.entry(from.clone()).or_default().extend(targets);
            }
            circles.extend(cycle(&siblings).map(|cycle| of.files(&cycle)));
        }
    }
    assert!(circles.is_empty(), "folders import each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let edges = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("b")])),
    ]);
    assert_eq!(cycle(&edges), Some(vec![&module("b"), &module("c")]));
    let names: Vec<_> = imports("use a::{b::{self, C}, d as e};\n#[cfg(test)]\nuse x::y;\n")
        .into_iter()
        .map(|import| format!("{} = {}", import.name, import.path.join("::")))
        .collect();
    assert_eq!(names, ["b = a::b", "C = a::b::C", "e = a::d"]);
}
