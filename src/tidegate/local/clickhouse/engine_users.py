"""The engine's users: who may do what, and which settings nobody changes.

The engine knows one user, `default`; each of this server's users is a role of it, and a connection takes
its role with SET ROLE. Nobody has a grant on SOURCES (`file`, `url`, `s3`, `remote`, …), nor the table and
database engines over them.
"""

from __future__ import annotations

from pathlib import Path

from tidegate.local.clickhouse.credentials import User

TABLE_ENGINES = (
    *("MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "CollapsingMergeTree"),
    *("VersionedCollapsingMergeTree", "CoalescingMergeTree", "GraphiteMergeTree"),
    *("Memory", "Log", "TinyLog", "StripeLog", "Null", "Set", "Join", "Buffer", "Merge", "Dictionary"),
    *("View", "MaterializedView", "GenerateRandom", "Alias"),
)
DATABASE_ENGINES = ("Atomic", "Memory")

REFUSED_SETTINGS = (
    # Text that becomes SQL where no parser of a statement sees it, or that changes which parser does.
    *("dialect", "polyglot_dialect", "additional_table_filters", "additional_result_filter"),
    *("parallel_replicas_custom_key", "select", "filter", "order", "sort", "implicit_table_at_top_level"),
    # Paths of files that are read or written.
    *("format_schema", "format_schema_source", "format_schema_message_name", "output_format_schema"),
    *("format_template_resultset", "format_template_row", "input_format_record_errors_file_path"),
    *("rename_files_after_processing",),
    # Addresses, and credentials for them.
    *("format_avro_schema_registry_url", "url_base", "s3_base", "cluster_for_parallel_replicas"),
    *("ai_function_text_default_credentials", "ai_function_embedding_default_credentials"),
    *("s3queue_default_zookeeper_path", "default_view_definer"),
)

GRANTS = {
    User.TIDEGATE: (
        "GRANT ALL ON *.*",
        "REVOKE SOURCES ON *.*",
        "REVOKE TABLE ENGINE ON *",
        *(f"GRANT TABLE ENGINE ON {engine}" for engine in (*TABLE_ENGINES, *DATABASE_ENGINES)),
    ),
    User.ANALYST: (
        "GRANT SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SHOW DICTIONARIES, SELECT, dictGet ON {database}.*",
        "GRANT SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SELECT ON system.*",
        "GRANT SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SELECT ON information_schema.*",
        "GRANT SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SELECT ON INFORMATION_SCHEMA.*",
    ),
}


def write_configuration(folder: Path, database: str) -> Path:
    """Write the engine's configuration files; analysts read `database`. Returns the path of the main one."""
    users, main = folder / "users.xml", folder / "config.xml"
    files = folder / "none"  # a relative path in SQL means this empty folder
    files.mkdir(exist_ok=True)
    users.write_text(_users(database), encoding="utf-8")
    main.write_text(
        f"""<clickhouse>
  <users_config>{users}</users_config>
  <user_files_path>{files}/</user_files_path>
  <access_control_improvements>
    <table_engines_require_grant>true</table_engines_require_grant>
  </access_control_improvements>
</clickhouse>
""",
        encoding="utf-8",
    )
    return main


def _users(database: str) -> str:
    name = f"`{database}`"
    roles = "\n".join(
        f"    <{user}><grants>"
        + "".join(f"<query>{grant.format(database=name)}</query>" for grant in grants)
        + f"</grants></{user}>"
        for user, grants in GRANTS.items()
    )
    constant = "".join(f"<{setting}><readonly/></{setting}>" for setting in REFUSED_SETTINGS)
    return f"""<clickhouse>
  <profiles><default><constraints>{constant}</constraints></default></profiles>
  <quotas><default/></quotas>
  <roles>
{roles}
  </roles>
  <users><default>
    <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants><query>GRANT {", ".join(GRANTS)}</query></grants>
  </default></users>
</clickhouse>
"""
