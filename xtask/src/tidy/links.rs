//! Links inside the repository lead somewhere, and every page of the book is in its table of contents.

use std::collections::BTreeSet;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{File, Report, resolve};

const BOOK: &str = "docs/src/";
const SUMMARY: &str = "docs/src/SUMMARY.md";

/// What a Markdown file points to and can be pointed at.
#[derive(Debug, Default)]
struct Page {
    links: Vec<String>,
    /// Files that mdBook puts in.
    includes: Vec<String>,
    /// What `#...` may name.
    anchors: BTreeSet<String>,
}

/// `exists` answers for paths from the root of the repository.
pub(super) fn check(files: &[File], exists: &dyn Fn(&str) -> bool, report: &mut Report) {
    let text_of = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let page = Page::parse(&file.text);
        for include in &page.includes {
            if !resolve(&file.path, include).is_some_and(|path| exists(&path)) {
                report.problem(format!("{}: `{include}` cannot be included: there is no such file", file.path));
            }
        }
        for link in page.links.iter().filter(|link| is_internal(link)) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if target.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, target) };
            let Some(path) = path.filter(|path| exists(path)) else {
                report.problem(format!("{}: the link to `{link}` leads nowhere", file.path));
                continue;
            };
            let known = text_of(&path).filter(|_| path.ends_with(".md"));
            if !anchor.is_empty() && known.is_some_and(|text| !Page::parse(text).anchors.contains(anchor)) {
                report.problem(format!("{}: `{link}` names a heading that is not there", file.path));
            }
        }
    }
    book(files, report);
}

fn book(files: &[File], report: &mut Report) {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else {
        report.problem(format!("{SUMMARY} is missing"));
        return;
    };
    let listed: BTreeSet<_> =
        Page::parse(&summary.text).links.iter().filter_map(|link| resolve(SUMMARY, link)).collect();
    let is_page = |path: &str| path.starts_with(BOOK) && path.ends_with(".md") && path != SUMMARY;
    for page in files.iter().filter(|file| is_page(&file.path) && !listed.contains(&file.path)) {
        report.problem(format!("{} is not in {SUMMARY}, so it is not in the book", page.path));
    }
}

fn is_internal(link: &str) -> bool {
    // `scheme:` is another place; so is `//host`. A crate's README may link to items, which rustdoc checks.
    let scheme = link.split(['/', '#', '?']).next().unwrap_or_default();
    !link.is_empty() && !scheme.contains(':') && !link.starts_with("//") && !link.contains('`')
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Page::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => {
                    page.includes.extend(includes(&part));
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => page.anchors.extend(ids(&html)),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    // A second heading of one name has a number, as GitHub and mdBook give it.
                    let numbered = (1..).map(|n| format!("{slug}-{n}"));
                    let free = std::iter::once(slug.clone()).chain(numbered).find(|slug| !page.anchors.contains(slug));
                    page.anchors.extend(free);
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The values of `id="..."`.
fn ids(html: &str) -> Vec<String> {
    html.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect()
}

/// The files of `{{#include file:part}}` and its relatives.
fn includes(text: &str) -> Vec<String> {
    let commands = text.split("{{#").skip(1).filter_map(|rest| rest.split("}}").next());
    let file = |command: &str| {
        let (name, argument) = command.split_once(' ')?;
        let known = ["include", "rustdoc_include", "playground"].contains(&name);
        let file = argument.split([':', ' ']).next().filter(|file| !file.is_empty())?;
        known.then(|| file.to_owned())
    };
    commands.filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|&(path, text)| File { path: path.into(), text: text.into() }).collect();
        let mut report = Report::default();
        check(&files, &|path| files.iter().any(|file| file.path == path), &mut report);
        report.problems
    }

    const PAGE: (&str, &str) = ("docs/src/a.md", "# The First\n\n## `Node::new`, and more\n\n<a id=\"here\"></a>\n");
    const CONTENTS: (&str, &str) = (SUMMARY, "# Summary\n\n- [A](a.md)\n");

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        let readme = "[a](docs/src/a.md#the-first) [b](docs/src/a.md#nodenew-and-more) [c](docs/src/a.md#here)\n\n\
                      [web](https://example.org/x#y) [mail](mailto:a@b) [self](#title)\n\n# Title\n";
        assert_eq!(problems(&[PAGE, CONTENTS, ("README.md", readme)]), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for bad in ["docs/a.md", "docs/src/a.md#second", "#title", "../outside", "/x.md"] {
            let found = problems(&[PAGE, CONTENTS, ("README.md", &format!("[x]({bad})"))]);
            assert!(found.len() == 1 && found[0].contains(bad), "{bad}: {found:?}");
        }
        let broken = problems(&[PAGE, (SUMMARY, "- [A](a.md)\n- [B](b.md)\n")]);
        assert!(broken[0].contains("b.md"));
    }

    #[test]
    fn a_page_must_be_in_the_book() {
        assert!(problems(&[PAGE, CONTENTS, ("docs/src/x/b.md", "")])[0].contains("docs/src/x/b.md is not in"));
        assert!(problems(&[PAGE])[0].contains("SUMMARY.md is missing"));
    }

    #[test]
    fn included_files_must_exist() {
        let with = |include: &str| ("docs/src/a.md", format!("```rust\n{{{{#{include}}}}}\n```\n"));
        let (path, good) = with("include ../../examples/a.rs:part");
        assert_eq!(problems(&[(path, &good), CONTENTS, ("examples/a.rs", "")]), [""; 0]);
        let (path, bad) = with("rustdoc_include ../../examples/b.rs");
        assert!(problems(&[(path, &bad), CONTENTS])[0].contains("examples/b.rs"));
    }

    #[test]
    fn code_is_no_link() {
        assert_eq!(problems(&[PAGE, CONTENTS, ("README.md", "`[x](y.md)`\n\n```\n[x](y.md)\n```\n")]), [""; 0]);
    }

    #[test]
    fn a_second_heading_of_one_name_has_a_number() {
        assert_eq!(problems(&[PAGE, CONTENTS, ("README.md", "# A\n\n# A\n\n[x](#a) [y](#a-1)\n")]), [""; 0]);
    }
}
