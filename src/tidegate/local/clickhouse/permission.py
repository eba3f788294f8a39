"""What a statement may do, read from the tree that the engine's own parser makes of it.

The engine's grants (`engine_users`) keep table functions and engines that reach files and networks from
everybody. They say nothing of the function `file`, of INTO OUTFILE, of SET ROLE, of a dictionary over HTTP,
a disk on the web, a path in ATTACH: that is decided here, by lists of what is allowed. The statement that is
checked is the one that runs, with everything that this server adds to it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from tidegate.local.clickhouse.credentials import User
from tidegate.local.clickhouse.engine_users import DATABASE_ENGINES, REFUSED_SETTINGS, TABLE_ENGINES
from tidegate.local.clickhouse.errors import ClickHouseError, refusal
from tidegate.local.clickhouse.statement import tokens

READS = frozenset(
    """SelectWithUnionQuery SelectIntersectExceptQuery SelectQuery ExplainQuery ShowTablesQuery
    ShowColumnsQuery ShowIndexesQuery ShowFunctions ShowEngineQuery ShowProcesslistQuery ShowSetting
    ShowGrantsQuery ShowAccessQuery DescribeQuery ExistsTableQuery ExistsViewQuery ExistsDatabaseQuery
    ExistsDictionaryQuery ShowCreateTableQuery ShowCreateViewQuery ShowCreateDatabaseQuery
    ShowCreateDictionaryQuery SetQuery UseQuery""".split()
)
WRITES = frozenset(
    """InsertQuery CreateQuery DropQuery AlterQuery DeleteQuery UpdateQuery RenameQuery OptimizeQuery
    CheckQuery KillQueryQuery SystemQuery UndropQuery""".split()
)
KINDS = {User.ANALYST: READS, User.TIDEGATE: READS | WRITES}
"""The kinds of statements, by the names of the parser's nodes."""

SYSTEM = re.compile(
    r"FLUSH_LOGS|FLUSH_ASYNC_INSERT_QUEUE|RELOAD_(DICTIONARY|DICTIONARIES)|(STOP|START)_\w+|SYNC_\w+"
    r"|(DROP|CLEAR)_\w+_CACHE|(REFRESH|WAIT|CANCEL)_VIEW|LOAD_PRIMARY_KEY|UNLOAD_PRIMARY_KEY"
)

TABLE_FUNCTIONS = frozenset(
    """numbers numbers_mt zeros zeros_mt primes generateseries generate_series values sqlstandardvalues
    null view viewifpermitted viewexplain merge format generaterandom loop dictionary mergetreeindex
    mergetreeprojection mergetreetextindex mergetreeanalyzeindexes""".split()
)

DICTIONARY_SOURCES = {
    "clickhouse": frozenset(["db", "table", "user", "password", "update_field", "update_lag"]),
    "null": frozenset[str](),
}

FUNCTION_CATEGORIES = frozenset(
    [
        *("Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional"),
        *("Dates and Times", "Dictionary", "Distance", "Encoding", "Encryption", "Financial", "Geo"),
        *("Geo Polygon", "Hash", "IP Address", "Internal", "JSON", "Logical", "Map", "Mathematical", "Null"),
        *("NumericIndexedVector", "QBit", "Random Number", "Rounding", "String", "String Replacement"),
        *("String Search", "String Splitting", "Time Series", "Time Window", "Tuple", "Type Conversion"),
        *("URL", "UUID"),
    ]
)
"""Kinds of functions, as `system.functions` has them, of which none reaches a file or a network."""

FUNCTIONS = frozenset(
    """bar blockNumber blockSerializedSize blockSize buildId byteSize colorOKLABToSRGB colorOKLCHToSRGB
    colorSRGBToOKLAB colorSRGBToOKLCH connectionId countDigits currentDatabase currentHandler
    currentProfiles currentQueryID currentRoles currentSchemas currentUser authenticatedUser
    defaultProfiles defaultRoles defaultValueOfArgumentType defaultValueOfTypeName demangle digits
    displayName dumpColumnStructure enabledProfiles enabledRoles errorCodeToName filesystemAvailable
    filesystemCapacity filesystemUnreserved finalizeAggregation flipCoordinates formatQuery
    formatQueryFromJSON formatQueryOrNull formatQuerySingleLine formatQuerySingleLineOrNull
    formatReadableDecimalSize formatReadableQuantity formatReadableSize formatReadableTimeDelta FQDN
    fuzzQuery generateRandomStructure generateSerialID getMaxTableNameLengthForDatabase
    getMergeTreeSetting getServerPort getServerSetting getSetting getSettingOrDefault getSizeOfEnumType
    getSubcolumn getTypeSerializationStreams globalVariable hasColumnInTable hasThreadFuzzer
    highlightQuery hostName icebergBucket icebergTruncate identity ignore indexHint
    initializeAggregation initialQueryID initialQueryStartTime isConstant isDecimalOverflow
    isMergeTreePartCoveredBy joinGet joinGetOrNull lowCardinalityIndices lowCardinalityKeys
    MACNumToString MACStringToNum MACStringToOUI materialize mergeTreePartInfo minSampleSizeContinuous
    minSampleSizeConversion neighbor normalizedQueryHash normalizedQueryHashKeepNames normalizeQuery
    normalizeQueryKeepNames obfuscateQuery obfuscateQueryWithSeed parseISO8601Duration parseQueryToJSON
    parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero parseTimeDelta partitionId
    pgGetUserById pgTableIsVisible queryID revision rowNumberInAllBlocks rowNumberInBlock
    runningAccumulate runningConcurrency runningDifference runningDifferenceStartingWithFirstValue
    serverUUID shardCount shardNum sleep sleepEachRow stochasticLinearRegression
    stochasticLogisticRegression structureToCapnProtoSchema structureToProtobufSchema tcpPort throwIf
    tokenizeQuery toColumnTypeName toTypeName transactionID transactionLatestSnapshot
    transactionOldestSnapshot transform uptime variantElement variantType version visibleWidth""".split()
)
"""The others that reach none, by name. What a later engine brings is refused until it stands here."""

NODE = re.compile(r"AST node of type '([A-Za-z]+)")
IN_SCOPE = re.compile(r": In scope SELECT parseQueryToJSON\(.*\)(?=\. \(\w+\)\s*$)", re.DOTALL)
EXPLAINED_FUNCTION = re.compile(r"^\s*Function (\S+)", re.MULTILINE)
NO_JSON = 36  # BAD_ARGUMENTS, for the kinds of statements that parseQueryToJSON does not know
CACHED = 512
CACHED_BYTES = 65_536

Ask = Callable[[str], str]


class Permissions:
    """Checks statements. `ask` runs one of this server's own and returns the answer as TSVRaw."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self.refused_functions = frozenset(_refused_functions(ask))
        everything = ask("SELECT lower(name) FROM system.table_functions").split()
        self.refused_table_functions = frozenset(everything) - TABLE_FUNCTIONS
        self._check_cached = lru_cache(CACHED)(self._check)

    def check(self, user: User, sql: str, *, file: str = "") -> None:
        """Raises ClickHouseError where `user` may not run `sql`, or the engine does not understand it.

        `file` is the one file that the statement writes its result to or reads its rows from.
        """
        if len(sql) <= CACHED_BYTES:
            self._check_cached(user, sql, file)
        else:
            self._check(user, sql, file)

    def _check(self, user: User, sql: str, file: str) -> None:
        try:
            tree = json.loads(self._engine(f"SELECT parseQueryToJSON({_literal(sql)})"))
        except ClickHouseError as error:
            if error.code != NO_JSON or not NODE.search(str(error)):
                raise
            self._check_explained(user, sql)
            return
        kind = str(tree.get("type"))
        self._check_kind(user, kind)
        found = ""
        for key, node in _nodes("", tree):
            found += self._check_node(user, key, node)
        if found != file:
            raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges: no statement names a file")

    def _check_kind(self, user: User, kind: str) -> None:
        if kind not in KINDS[user]:
            raise refusal(
                "ACCESS_DENIED", f"{user}: Not enough privileges to run a statement of this kind ({kind})"
            )

    def _check_node(self, user: User, key: str, node: dict[str, Any]) -> str:
        """Returns the file that the node names, "" if none."""
        kind = node.get("type")
        named = ""
        for clause in ("out_file", "infile"):
            if clause in node:
                named += str(_value(node[clause]))
        if kind == "Function":
            self._check_function(user, key, node)
        elif kind == "ColumnsApplyTransformer" and "func_name" in node:
            self._check_name(user, str(node["func_name"]))
        elif kind == "SetQuery":
            for change in node.get("changes", ()):
                _check_setting(user, str(change["name"]), change.get("value"))
        elif kind == "Dictionary":
            _check_dictionary(user, node.get("source") or {})
        elif kind == "CreateQuery" and node.get("attach_from_path"):
            raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges: ATTACH … FROM names a folder")
        elif kind == "AlterCommand" and str(node.get("command_type", "")).startswith("FETCH"):
            raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges: FETCH reaches another server")
        elif kind == "SystemQuery" and not SYSTEM.fullmatch(str(node.get("query_type"))):
            raise refusal(
                "ACCESS_DENIED", f"{user}: Not enough privileges for SYSTEM {node.get('query_type')}"
            )
        return named

    def _check_function(self, user: User, key: str, node: dict[str, Any]) -> None:
        name, kind = str(node.get("name")), node.get("kind")
        if kind in ("TABLE_ENGINE", "DATABASE_ENGINE"):
            allowed = TABLE_ENGINES if kind == "TABLE_ENGINE" else DATABASE_ENGINES
            if name not in allowed and not name.startswith("Replicated"):
                raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges for the engine {name}")
        elif key.endswith("table_function"):
            # What is none of the engine's is a view with parameters.
            if name.lower() in self.refused_table_functions:
                raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges for the table function {name}")
        else:
            self._check_name(user, name)

    def _check_name(self, user: User, name: str) -> None:
        if name.lower() in self.refused_functions | self.refused_table_functions:
            raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges for the function {name}")

    def _check_explained(self, user: User, sql: str) -> None:
        """For what parseQueryToJSON does not know: DESCRIBE, EXISTS, SHOW CREATE and their like."""
        tree = self._engine(f"EXPLAIN AST {sql}")
        kind = tree.split(maxsplit=1)[0].removesuffix("(children")
        self._check_kind(user, kind)
        for name in EXPLAINED_FUNCTION.findall(tree):
            if name.lower() not in TABLE_FUNCTIONS:
                self._check_name(user, name)
        canonical = self._engine(f"SELECT formatQuerySingleLine({_literal(sql)})")
        if any(token.word in (b"OUTFILE", b"INFILE") for token in tokens(canonical.encode())):
            raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges: no statement names a file")

    def _engine(self, sql: str) -> str:
        with self._lock:
            try:
                return self._ask(sql)
            except ClickHouseError as error:
                raise ClickHouseError(error.code, IN_SCOPE.sub("", str(error))) from error


def _refused_functions(ask: Ask) -> Iterator[str]:
    """The engine's functions that are not known to reach neither files nor networks, in lower case."""
    rows = [line.split("\t") for line in ask(FUNCTION_LIST).splitlines()]
    category = {name: kind.strip() for name, _, kind, _ in rows}
    for name, alias_to, _, origin in rows:
        base = alias_to or name
        if origin != "System" or (category.get(base) not in FUNCTION_CATEGORIES and base not in FUNCTIONS):
            yield name.lower()


FUNCTION_LIST = (
    "SELECT name, alias_to, if(is_aggregate, 'Aggregate Functions', categories), origin FROM system.functions"
)


def _nodes(key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the tree, with the key that it stands under."""
    if isinstance(value, dict):
        yield key, value
        for inner, item in value.items():
            yield from _nodes(inner, item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(key, item)


def _check_setting(user: User, name: str, value: Any) -> None:
    plain = not isinstance(value, dict) or value.get("field_type") != "CustomType"
    if name.lower() in REFUSED_SETTINGS or name.lower() in ("disk", "table_disk") or not plain:
        raise refusal("ACCESS_DENIED", f"{user}: Not enough privileges: setting {name} should not be changed")


def _check_dictionary(user: User, source: dict[str, Any]) -> None:
    allowed = DICTIONARY_SOURCES.get(str(source.get("name", "")).lower())
    elements = (source.get("elements") or {}).get("children", ())
    if allowed is None or any(str(pair.get("first")).lower() not in allowed for pair in elements):
        raise refusal(
            "ACCESS_DENIED",
            f"{user}: Not enough privileges for this source of a dictionary: it is CLICKHOUSE(TABLE …) here",
        )


def _value(node: Any) -> Any:
    value = node.get("value") if isinstance(node, dict) else node
    return value.get("value") if isinstance(value, dict) else value


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
