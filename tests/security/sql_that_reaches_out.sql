SELECT file('{file}')
SELECT `file`('{file}')
SELECT * APPLY(file) FROM values('a String', '{file}')
SELECT * APPLY(x -> file(x)) FROM values('a String', '{file}')
SELECT arrayMap(x -> file(x), ['{file}'])
SELECT 1 WHERE 'x' IN file('{file}', 'LineAsString')
SELECT (SELECT file('{file}'))
WITH file('{file}') AS f SELECT f
SELECT 1 UNION ALL SELECT length(file('{file}'))
SELECT 1 FROM tidegate.t ORDER BY file('{file}')
EXPLAIN SELECT file('{file}')
DESCRIBE (SELECT file('{file}'))
SELECT * FROM file('{file}', 'LineAsString')
SELECT * FROM view(SELECT file('{file}'))
SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('{file}')))
SELECT * FROM eval('SELECT file(\'{file}\')')
SELECT * FROM `{file}`
SELECT * FROM default.`{file}`
DESCRIBE TABLE file('{file}', 'LineAsString')
SELECT * FROM merge(file('{file}', 'LineAsString'))
SELECT * FROM loop(file('{file}', 'LineAsString')) LIMIT 1
SELECT * FROM fileCluster('default', '{file}', 'LineAsString')
SELECT * FROM filesystem('{file}')
SELECT * FROM executable('cat {file}', 'LineAsString', 'a String')
SELECT * FROM sqlite('{file}', 't')
SELECT * FROM input('a String')
SELECT * FROM python(os)
SELECT * FROM Python(os)
SELECT * FROM url('{url}/x', 'LineAsString')
SELECT * FROM urlCluster('default', '{url}/x', 'LineAsString')
SELECT * FROM s3('{url}/b/x', 'LineAsString')
SELECT * FROM s3('{url}/b/x', NOSIGN, 'LineAsString')
SELECT * FROM remote('{peer}', 'system.one')
SELECT * FROM remoteSecure('{peer}', 'system.one')
SELECT * FROM cluster('default', 'system.one')
SELECT * FROM mysql('{peer}', 'd', 't', 'u', 'p')
SELECT * FROM postgresql('{peer}', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('{peer}', 'd', 't', 'u', 'p', 'a String')
SELECT * FROM redis('{peer}', 'k', 'k String, v String')
SELECT * FROM jdbc('{url}', 't')
SELECT * FROM odbc('DSN=x', 't')
SELECT * FROM hdfs('hdfs://{peer}/x', 'LineAsString')
SELECT * FROM azureBlobStorage('{url}', 'c', 'x', 'a', 'b')
SELECT * FROM iceberg('{url}/x')
SELECT * FROM deltaLake('{url}/x')
SELECT aiGenerate('x', 'say')
SELECT 1 INTO OUTFILE '{out}'
SELECT 1 /* x */ INTO /* y */ OUTFILE '{out}' TRUNCATE FORMAT TSV
SELECT 1 AS `a''b` INTO OUTFILE '{out}' FORMAT TSV -- ' FORMAT CSV
SELECT '‘' AS “x” INTO OUTFILE '{out}' TRUNCATE
SHOW TABLES INTO OUTFILE '{out}'
DESCRIBE system.one INTO OUTFILE '{out}'
EXPLAIN SELECT 1 INTO OUTFILE '{out}'
SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{file}'
SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{file}:M'
SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{out}'
SELECT 1 SETTINGS additional_result_filter = 'file(\'{file}\') != \'\''
SELECT 1 SETTINGS dialect = 'kusto'
INSERT INTO FUNCTION file('{out}', 'TSV', 'a UInt8') SELECT 1
INSERT INTO FUNCTION file('{out}', 'TSV', 'a UInt8') VALUES (1)
INSERT INTO FUNCTION url('{url}/x', 'TSV', 'a UInt8') SELECT 1
INSERT INTO tidegate.t FROM INFILE '{file}' FORMAT LineAsString
INSERT INTO tidegate.t SELECT 1, file('{file}')
CREATE TABLE tidegate.f (a String) ENGINE = File(LineAsString, '{file}')
CREATE TABLE tidegate.f (a String) ENGINE = URL('{url}/x', 'LineAsString')
CREATE TABLE tidegate.f (a String) ENGINE = Executable('cat', 'LineAsString')
CREATE TABLE tidegate.f AS file('{file}', 'LineAsString')
CREATE TABLE tidegate.f (a String DEFAULT file('{file}')) ENGINE = Memory
CREATE TABLE tidegate.f (a String ALIAS file('{file}')) ENGINE = Memory
CREATE TABLE tidegate.f (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = '{url}/')
CREATE TABLE tidegate.f (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{out}/')
CREATE TEMPORARY TABLE f (a String) ENGINE = File(LineAsString, '{file}')
CREATE VIEW tidegate.f AS SELECT file('{file}') AS a
CREATE MATERIALIZED VIEW tidegate.f ENGINE = File(TSV) AS SELECT a FROM tidegate.t
CREATE FUNCTION f AS x -> file(x)
CREATE DICTIONARY tidegate.f (a UInt8, b String) PRIMARY KEY a SOURCE(HTTP(URL '{url}/x' FORMAT 'TSV')) LAYOUT(FLAT) LIFETIME(0)
CREATE DICTIONARY tidegate.f (a UInt8, b String) PRIMARY KEY a SOURCE(FILE(PATH '{file}' FORMAT 'TSV')) LAYOUT(FLAT) LIFETIME(0)
CREATE DICTIONARY tidegate.f (a UInt8, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT 1, file(\'{file}\')')) LAYOUT(FLAT) LIFETIME(0)
CREATE DATABASE f ENGINE = Filesystem('/etc')
CREATE DATABASE f ENGINE = SQLite('{out}')
CREATE DATABASE f ENGINE = MySQL('{peer}', 'd', 'u', 'p')
ATTACH TABLE tidegate.f FROM '{out}' (a UInt8) ENGINE = MergeTree ORDER BY a
ALTER TABLE tidegate.t ADD COLUMN f String DEFAULT file('{file}')
ALTER TABLE tidegate.t UPDATE s = file('{file}') WHERE 1
ALTER TABLE tidegate.t DELETE WHERE file('{file}') != ''
ALTER TABLE tidegate.t MODIFY SETTING disk = 'x'
BACKUP TABLE tidegate.t TO File('{out}')
BACKUP TABLE tidegate.t TO S3('{url}/b', 'k', 's')
RESTORE TABLE tidegate.f FROM File('{out}')
SET ROLE tidegate
SET ROLE ALL
SET format_template_resultset = '{file}'
GRANT ALL ON *.* TO default
CREATE USER f
CREATE NAMED COLLECTION f AS url = '{url}'
SYSTEM SHUTDOWN
EXECUTE AS default SELECT 1
SELECT 1; SELECT file('{file}')
