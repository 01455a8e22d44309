"""How a report looks: light and dark, on paper, without anything from elsewhere."""

STYLE = """
:root{--ink:#1b2430;--soft:#5b6675;--page:#f4f6f8;--card:#fff;--edge:#dde3ea;--accent:#0b5cad;--warn:#fff6e0;
--warn-edge:#d79b00;--k0:#0072b2;--k1:#d55e00;--k2:#009e73;--k3:#cc79a7;--k4:#e69f00;--k5:#56b4e9;--k6:#7a6a00;--k7:#555}
@media(prefers-color-scheme:dark){:root{--ink:#e7ecf2;--soft:#9fabb9;--page:#12161b;--card:#1b2128;--edge:#323b46;
--accent:#6db3f2;--warn:#2c2614;--warn-edge:#b98a1c;--k0:#4aa3df;--k1:#f08a4b;--k2:#3cc79b;--k7:#aaa;--k6:#c9b83a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1280px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 6px}
h2{font-size:1.1rem;margin:0 0 12px}
.headline{font-size:1.1rem;margin:0 0 18px;color:var(--accent);font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
header,section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:20px 22px;margin:0 0 18px}
section.warning{background:var(--warn);border-color:var(--warn-edge)}
section.warning ul{margin:0;padding-left:20px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.84rem;line-height:1.35;font-variant-numeric:tabular-nums}
th,td{padding:6px 11px 6px 0;text-align:left;border-bottom:1px solid var(--edge);white-space:pre;vertical-align:top}
td{font-size:.95em}
thead th{color:var(--soft);font-weight:600;border-bottom-width:2px}
tbody th{font-weight:600}
.charts,.gallery{display:flex;flex-wrap:wrap;gap:18px}
.charts figure{flex:1 1 380px;min-width:0;max-width:520px;margin:0}
.gallery figure{width:190px;margin:0}
.gallery img{width:190px;height:190px;object-fit:contain;background:#000;border-radius:6px;display:block}
.gallery.wide figure{width:580px}.gallery.wide img{width:100%;height:auto}
figcaption{font-size:.86rem;color:var(--soft);margin:0 0 4px;overflow-wrap:anywhere}
.gallery figcaption{margin:6px 0 0;white-space:pre-line}
.note,footer{font-size:.86rem;color:var(--soft);margin:12px 0 0}
.legend{font-size:.84rem;margin:4px 0 0;display:flex;flex-wrap:wrap;gap:2px 14px}
.legend .key{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;vertical-align:middle}
svg{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .tick,svg .label{fill:var(--soft)}
svg .grid{stroke:var(--edge);stroke-width:1}
svg .guide{stroke:var(--soft);stroke-dasharray:4 4}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
svg .cell{fill:var(--k0)}
svg .count{text-anchor:middle;font-size:14px}svg .count.on{fill:#fff}
.c0{stroke:var(--k0);--k:var(--k0)}.c1{stroke:var(--k1);--k:var(--k1)}.c2{stroke:var(--k2);--k:var(--k2)}
.c3{stroke:var(--k3);--k:var(--k3)}.c4{stroke:var(--k4);--k:var(--k4)}.c5{stroke:var(--k5);--k:var(--k5)}
.c6{stroke:var(--k6);--k:var(--k6)}.c7{stroke:var(--k7);--k:var(--k7)}
svg .dot{fill:var(--k);stroke:none}.key{background:var(--k)}
@page{size:A4 landscape;margin:10mm}
@media print{body{background:#fff;font-size:12px}main{max-width:none;padding:0}
section,header{break-inside:avoid;border-color:#bbb;padding:10px 12px}
.scroll{overflow:visible}table{font-size:.74rem}th,td{padding-right:8px}.charts figure{max-width:46%}
footer{break-before:avoid}}
"""
