"""The HTML of the stand-in's pages, kept apart from what fills it."""

STYLE = """
:root { color-scheme: light dark; --line: #d1d9e0; --soft: #f6f8fa; --text: #1f2328; --dim: #59636e;
  --back: #fff; --link: #0969da; --open: #1a7f37; --merged: #8250df; --closed: #d1242f; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #151b23; --text: #f0f6fc;
  --dim: #9198a1; --back: #0d1117; --link: #4493f8; --open: #3fb950; --merged: #ab7df8; --closed: #f85149; } }
body { font: 15px/1.55 -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif;
  color: var(--text); background: var(--back); margin: 0 auto; padding: 24px 20px 60px; max-width: 900px; }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
h1 { font-size: 26px; font-weight: 500; margin: 4px 0 } h1 .number { color: var(--dim); font-weight: 300 }
.state { color: #fff; border-radius: 2em; padding: 4px 12px; font-size: 13px; font-weight: 600 }
.Open { background: var(--open) } .Merged { background: var(--merged) } .Closed { background: var(--closed) }
.Draft { background: var(--dim) } .dim { color: var(--dim) }
.comment { border: 1px solid var(--line); border-radius: 6px; margin: 18px 0; overflow: hidden }
.comment > header { background: var(--soft); border-bottom: 1px solid var(--line); padding: 8px 14px;
  font-size: 14px; color: var(--dim) } .comment > header b { color: var(--text) }
.tag { border: 1px solid var(--line); border-radius: 2em; padding: 0 7px; font-size: 12px; margin-left: 4px }
.body { padding: 4px 16px 10px; overflow-x: auto }
.body pre { background: var(--soft); border-radius: 6px; padding: 12px; overflow-x: auto; font-size: 12.5px }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace }
:not(pre) > code { background: var(--soft); border-radius: 4px; padding: 2px 5px }
table { border-collapse: collapse }
td, th { border: 1px solid var(--line); padding: 5px 11px; text-align: left }
.commits { list-style: none; padding: 0; font-size: 14px } .commits li { padding: 3px 0 }
ul.pulls { list-style: none; padding: 0 } ul.pulls li { border-top: 1px solid var(--line); padding: 10px 2px }
blockquote { border-left: 4px solid var(--line); margin: 0; padding: 0 14px; color: var(--dim) }
summary { cursor: pointer }
"""

_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<style>" + STYLE + "</style>"
)

FRONT_PAGE = (
    _HEAD
    + """<title>Pull requests</title></head><body>
{% for repository in repositories %}
<h1><a href="/{{ repository.full_name }}">{{ repository.full_name }}</a></h1>
<p class="dim">{{ repository.description or "" }} · branch <code>{{ repository.default_branch }}</code></p>
<ul class="pulls">
{% for pull in repository.pulls.values()|sort(attribute="number", reverse=true) %}
{% set word = "Merged" if pull.merged else ("Closed" if pull.state == "closed" else "Open") %}
<li><span class="state {{ word }}">{{ word }}</span>
<a href="/{{ repository.full_name }}/pull/{{ pull.number }}"><b>{{ pull.title }}</b></a>
<span class="dim">#{{ pull.number }} by {{ pull.author.login }}, {{ moment(pull.created_s) }},
{{ repository.comments_on(pull.number)|length }} comments</span></li>
{% else %}<li class="dim">No pull requests yet.</li>{% endfor %}
</ul>
{% else %}<p>No repositories yet.</p>{% endfor %}
</body></html>"""
)

PULL_PAGE = (
    _HEAD
    + """<title>{{ pull.title }} · Pull Request #{{ pull.number }} · {{ repository.full_name }}</title>
</head><body>
<p class="dim"><a href="/{{ repository.full_name }}">{{ repository.full_name }}</a></p>
<h1>{{ pull.title }} <span class="number">#{{ pull.number }}</span></h1>
<p><span class="state {{ state }}">{{ state }}</span>
<span class="dim"><b>{{ (pull.merged_by or pull.author).login }}</b>
{{ "merged" if pull.merged else "wants to merge" }} {{ commits|length }} commits into
<code>{{ pull.base_ref }}</code> from <code>{{ pull.head_ref }}</code></span></p>
{% macro box(author, at, text, edited, id) %}
<article class="comment" id="{{ id }}"><header><b>{{ author.login.removesuffix("[bot]") }}</b>
{% if author.type == "Bot" %}<span class="tag">bot</span>{% endif %}
commented on {{ moment(at) }}{% if edited %} · edited{% endif %}</header>
<div class="body">{{ html(text) }}</div></article>
{% endmacro %}
{{ box(pull.author, pull.created_s, pull.body or "*No description provided.*", false, "description") }}
<ul class="commits">{% for commit in commits %}
<li><a href="/{{ repository.full_name }}/commit/{{ commit.sha }}"><code>{{ commit.sha[:7] }}</code></a>
{{ commit.subject }} <span class="dim">{{ commit.author.name }}</span></li>{% endfor %}</ul>
{% if pull.merged %}<p class="dim"><b>{{ pull.merged_by.login }}</b> merged commit
<a href="/{{ repository.full_name }}/commit/{{ pull.merge_commit_sha }}">
<code>{{ pull.merge_commit_sha[:7] }}</code></a>
into <code>{{ pull.base_ref }}</code> on {{ moment(pull.merged_s) }}</p>{% endif %}
{% for comment in comments %}
{% set anchor = "issuecomment-%d"|format(comment.id) %}
{{ box(comment.author, comment.created_s, comment.body, comment.edits > 0, anchor) }}
{% if comment.reactions %}<p class="dim">{% for reaction in comment.reactions %}
{{ reaction.user.login }}: {{ reaction.content }}{% endfor %}</p>{% endif %}
{% endfor %}
</body></html>"""
)
