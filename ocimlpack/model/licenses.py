"""Licences by their SPDX identifiers, https://spdx.org/licenses/: spelled, and recognised."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_IDENTIFIERS: Final = (
    "AFL-3.0 AGPL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-2.0 BSD-2-Clause "
    "BSD-3-Clause BSD-3-Clause-Clear BSL-1.0 C-UDA-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 "
    "CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 "
    "CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 "
    "CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 "
    "EUPL-1.2 GPL-2.0 GPL-2.0-only GPL-2.0-or-later GPL-3.0 GPL-3.0-only GPL-3.0-or-later ISC "
    "LGPL-2.1 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only LGPL-3.0-or-later LGPLLR "
    "LPPL-1.3c MIT MIT-0 MPL-2.0 MS-PL NCSA ODbL-1.0 OFL-1.1 OSL-3.0 PDDL-1.0 PostgreSQL Unlicense "
    "WTFPL Zlib etalab-2.0"
)
_SPELLING: Final = {each.lower(): each for each in _IDENTIFIERS.split()}

# SHA-256 of a text's words, after what `_body` takes off. A text with one more sentence, as some
# model licences have, is another licence and not in here.
_TEXTS: Final = {
    # whole, without its appendix, and without the line that ends the terms
    "f86c45fc72b043272de5d765793567a95363a0016be29aaee3c6a6d8b0ca5532": "Apache-2.0",
    "95ebafaabf80c10ce0c02d6506b3c942348da0561e2d2af910f930ef055bc343": "Apache-2.0",
    "9666d051921bc497595d01b3c5b73b1f06842a6aa072b0221619c1e6d78d99e7": "Apache-2.0",
    "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c": "MIT",
    "53075742228962c7ea381b8242c64602fa32e7b8f52facb6d13ee4f9c596ddfa": "BSD-3-Clause",
    "986c3c3199a93b916c8f2e0aeed57819bcbdcb2cd9d99902dcc9d74b53f93a74": "BSD-2-Clause",
    "217da0747cec63a2e734185db11cbaa819bcd9e5b83cd12f812128fffe66e26a": "ISC",
    "d2954ecddd82787482d526252c2595f628a7e2ccd8c32b969382705b61c7ed8d": "MPL-2.0",
    "8a20adffc7304b14c6abf18e4f5b5dd165c30fe18458e37e657014e4a1e7241a": "CC0-1.0",
}

_COPYRIGHT: Final = re.compile(
    r"^[ \t]*(?:copyright[ \t:]*(?:\(c\)|©|\d{4})|\(c\)[ \t]*\d{4}|©|all rights reserved).*$",
    re.IGNORECASE | re.MULTILINE,
)
_LIST_MARK: Final = re.compile(
    r"^\s*(?:\(?[0-9a-z]{1,2}[.)]|[*-])\s+", re.IGNORECASE | re.MULTILINE
)
_TITLE: Final = re.compile(
    r"(?:the )?(?:mit license(?: mit)?|isc license(?: isc)?"
    r"|(?:bsd [23] clause|new bsd|simplified bsd|modified bsd) license) "
)
# The places that the templates leave to whoever uses them.
_BLANKS: Final = (
    (
        re.compile(r"neither the name of .{1,100}? nor the names of (?:its|any) contributors"),
        "neither the name of the copyright holder nor the names of its contributors",
    ),
    (re.compile(r"\bcopyright owner or contributors"), "copyright holder or contributors"),
    (re.compile(r"copyright yyyy name of copyright owner "), ""),
    (re.compile(r"\bhttps\b"), "http"),
)


def spell(name: str) -> str:
    """A licence's name as SPDX writes it, if it differs from that in case only; else as it is."""
    return _SPELLING.get(name.lower(), name)


def recognise(text: str) -> str | None:
    """The identifier of a licence whose text this is, and nothing but that; None if in doubt."""
    return _TEXTS.get(hashlib.sha256(_body(text).encode()).hexdigest())


def _body(text: str) -> str:
    """The words that make the licence: no title, no names, no layout."""
    text = _LIST_MARK.sub("", _COPYRIGHT.sub("", text))
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    for blank, filled in _BLANKS:
        words = blank.sub(filled, words)
    match = _TITLE.match(words)
    return words[match.end() :] if match else words
