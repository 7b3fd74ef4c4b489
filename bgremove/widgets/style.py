"""The look of the forms: colours that hold on a dark page and on a light one."""

from __future__ import annotations

import html

STYLE = "bgremove-app"
HELP = "bgremove-help"
ERROR = "bgremove-error"
NOTE = "bgremove-note"

# Only shades of the page's own text colour, and half-transparent greys: both themes are served by one sheet.
CSS = """
.bgremove-app {font-size: 13px}
.bgremove-app .widget-html-content {color: inherit}
.bgremove-app .widget-label {text-align: left}
.bgremove-run {color: #fff !important}
.bgremove-help {margin: 0 !important; height: auto !important}
.bgremove-help .widget-html-content {line-height: 1.35}
.bgremove-help .widget-html-content > div {font-size: 11.5px; opacity: .68; padding: 0 8px 6px 2px}
.bgremove-head {font-weight: 600; font-size: 13px; padding: 8px 0 2px 2px;
  border-top: 1px solid rgba(127,127,127,.3); margin-top: 6px}
.bgremove-first .bgremove-head {border-top: 0; margin-top: 0; padding-top: 2px}
.bgremove-hint, .bgremove-status {font-size: 12px; opacity: .75; line-height: 1.4}
.bgremove-view {position: relative; max-width: 100%; line-height: 0; margin: 4px 0}
.bgremove-view img {max-width: 100%; max-height: 640px; width: auto; height: auto; border-radius: 4px}
.bgremove-pair {display: inline-block; --cut: 50%}
.bgremove-pair img + img {position: absolute; inset: 0; width: 100%; height: 100%;
  clip-path: inset(0 calc(100% - var(--cut)) 0 0)}
.bgremove-pair input {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize}
.bgremove-pair .bgremove-line {position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 3px rgba(0,0,0,.7)}
.bgremove-pair .bgremove-line::after {content: "\\2194"; position: absolute; top: 50%; left: 1px;
  transform: translate(-50%,-50%); background: #fff; color: #333; border-radius: 50%; width: 26px;
  height: 26px; line-height: 26px; text-align: center; font-size: 15px; box-shadow: 0 0 4px rgba(0,0,0,.6)}
.bgremove-pair:focus-within .bgremove-line {background: #4c9ffe}
.bgremove-tag {position: absolute; left: 8px; bottom: 8px; padding: 3px 8px; border-radius: 3px;
  background: rgba(0,0,0,.6); color: #fff; font-size: 11px; line-height: 1.3}
.bgremove-right {left: auto; right: 8px}
.bgremove-steps {display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 12px;
  margin: 4px 0}
.bgremove-steps figure {margin: 0; min-width: 0}
.bgremove-steps img {width: 100%; height: auto; border-radius: 4px; display: block}
.bgremove-steps figcaption {font-size: 12px; line-height: 1.35; padding: 4px 2px}
.bgremove-swatch {width: 20px; height: 20px; border-radius: 4px; color: #fff; font-size: 11px;
  line-height: 20px; text-align: center; text-shadow: 0 0 2px #000}
.bgremove-upload {font-size: 0 !important}
.bgremove-upload > i {font-size: 13px}
.bgremove-upload::after {font-size: 13px}
.bgremove-upload-photos::after {content: "Upload photos"}
.bgremove-upload-picture::after {content: "Upload a picture"}
.bgremove-code {display: flex; gap: 8px; align-items: flex-start; background: rgba(127,127,127,.14);
  border-radius: 4px; padding: 8px 10px; margin: 4px 0}
.bgremove-code code {flex: 1; white-space: pre-wrap; word-break: break-word; user-select: all;
  font-size: 12px;  line-height: 1.45; background: none; color: inherit}
.bgremove-code button {font-size: 11px; color: inherit; background: rgba(127,127,127,.2); border: 0;
  border-radius: 3px; padding: 2px 8px; cursor: pointer}
.bgremove-link {text-decoration: underline; color: inherit; font-weight: 600}
.bgremove-error, .bgremove-note {padding: 6px 10px; border-radius: 4px; line-height: 1.4; margin: 4px 0}
.bgremove-error {background: rgba(220,60,60,.16); border-left: 3px solid rgb(220,60,60)}
.bgremove-note {background: rgba(127,127,127,.14); border-left: 3px solid rgba(127,127,127,.6)}
"""


def message(text: str, kind: str) -> str:
    """A sentence in a box of its `kind`; nothing for no text."""
    return f'<div class="{kind}">{html.escape(text)}</div>' if text else ""
