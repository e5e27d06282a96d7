//! How the page looks: light or dark as the reader has it, wide or narrow.

pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--page:#fcfcfb;--text:#1c1c1a;--soft:#5d5d58;--line:#dededa;
--ours:#1f6feb;--slower:#c2571a;--c0:#b0413e;--c1:#2f8f5b;--c2:#8a5cc2;--c3:#b07d12;--c4:#1b8a99;--c5:#777;--c6:#d1478f;--c7:#6b7a12;--c8:#7a4a2b;--c9:#3a3fa8}
@media (prefers-color-scheme:dark){:root{--page:#161615;--text:#ecece8;--soft:#a5a59e;--line:#3a3a37;
--ours:#6aa5ff;--slower:#f0935a;--c0:#f08a86;--c1:#6fce9a;--c2:#c3a1f0;--c3:#e2b64e;--c4:#62c8d6;--c5:#aaa;--c6:#ff8fc4;--c7:#b9c94a;--c8:#c99a78;--c9:#9a9ef5}}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem;overflow-wrap:anywhere}
p{max-width:45rem}.headline b{font-size:1.6rem;color:var(--ours)}
.facts,small,details,figcaption{color:var(--soft);font-size:.875rem}
details{margin:.5rem 0 1rem}ul{padding-left:1.2rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
th{color:var(--soft);font-weight:500;vertical-align:bottom}th small{display:block;font-weight:400}
.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{min-width:7rem;text-align:center}td.bar svg{display:block;width:100%;height:.8rem}
td:first-child{position:sticky;left:0;background:var(--page)}
abbr{color:var(--slower);font-size:.75rem}
.faster{fill:var(--ours)}.slower{fill:var(--slower)}.one{stroke:var(--soft);vector-effect:non-scaling-stroke}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.5rem;margin-top:1.5rem}
figure{margin:0;max-width:40rem}figure svg{width:100%;height:auto;display:block}
figure text{fill:var(--soft);font-size:12px;font-family:inherit}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.75}.line.ours{stroke-width:3}
.limit{stroke:var(--soft);stroke-dasharray:5 4}
.ours{stroke:var(--ours)}circle.ours,i.ours{fill:var(--ours);background:var(--ours)}
.c0{stroke:var(--c0)}circle.c0,i.c0{fill:var(--c0);background:var(--c0)}
.c1{stroke:var(--c1)}circle.c1,i.c1{fill:var(--c1);background:var(--c1)}
.c2{stroke:var(--c2)}circle.c2,i.c2{fill:var(--c2);background:var(--c2)}
.c3{stroke:var(--c3)}circle.c3,i.c3{fill:var(--c3);background:var(--c3)}
.c4{stroke:var(--c4)}circle.c4,i.c4{fill:var(--c4);background:var(--c4)}
.c5{stroke:var(--c5)}circle.c5,i.c5{fill:var(--c5);background:var(--c5)}
.c6{stroke:var(--c6)}circle.c6,i.c6{fill:var(--c6);background:var(--c6)}
.c7{stroke:var(--c7)}circle.c7,i.c7{fill:var(--c7);background:var(--c7)}
.c8{stroke:var(--c8)}circle.c8,i.c8{fill:var(--c8);background:var(--c8)}
.c9{stroke:var(--c9)}circle.c9,i.c9{fill:var(--c9);background:var(--c9)}
circle.hollow{fill:var(--page);stroke-width:2}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.8rem;color:var(--soft)}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:50%;margin-right:.35rem;vertical-align:-.05rem}
@media (max-width:40rem){th,td{padding:.3rem .4rem;font-size:.8rem}td:first-child{white-space:normal;min-width:8rem}
figure text{font-size:15px}.bar{min-width:4rem}}
";
