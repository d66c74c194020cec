//! The page: files that are part of the program, need no build and ask nobody else.
//!
//! Whatever comes from outside (names, answers of servers) is put into the page as text, never as markup, and the policy that goes
//! with every answer forbids scripts and styles that are not these files.

/// A file of the page.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

/// The page and what it consists of.
pub(super) const FILES: &[File] = &[
    File {
        path: "/",
        kind: "text/html; charset=utf-8",
        text: include_str!("index.html"),
    },
    File {
        path: "/page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("page.css"),
    },
    File {
        path: "/nodes.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("nodes.js"),
    },
    File {
        path: "/parts.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("parts.js"),
    },
    File {
        path: "/books.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("books.js"),
    },
    File {
        path: "/cluster.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("cluster.js"),
    },
    File {
        path: "/page.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("page.js"),
    },
    File {
        path: "/plot.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("plot.js"),
    },
    File {
        path: "/icon.svg",
        kind: "image/svg+xml",
        text: include_str!("icon.svg"),
    },
];

/// Nothing but the page's own files and answers; it is in no frame, and sends no form.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_and_writes_no_markup() {
        for File { path, text, .. } in FILES {
            let own = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in [
                "http:",
                "https:",
                "src=\"//",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!own.contains(foreign), "{path} has {foreign}");
            }
        }
        let page = FILES[0].text;
        for inline in ["<style", "style=", "onclick", "onload", "<script>"] {
            assert!(!page.contains(inline), "the policy forbids {inline}");
        }
    }
}
