// @clickhouse/client: writes rows, reads them back, says what it saw. Usage: node main.mjs URL USER PASSWORD TABLE
import { createClient } from '@clickhouse/client'

const [url, username, password, table] = process.argv.slice(2)
for (const compression of [undefined, { request: true, response: true }]) {
  const client = createClient({ url, username, password, ...(compression && { compression }) })
  const ping = await client.ping()
  if (!ping.success) throw ping.error
  const values = [0, 1, 2].map((id) => ({
    id, name: 'name', note: id === 1 ? null : `note ${id}`, at: '2026-01-02 03:04:05.678', tags: ['a', `note ${id}`], kind: 'low',
  }))
  await client.command({ query: `TRUNCATE TABLE ${table}` })
  await client.insert({ table, values, format: 'JSONEachRow' })
  const result = await client.query({ query: `SELECT * FROM ${table} ORDER BY id`, format: 'JSONEachRow' })
  for (const row of await result.json()) console.log(JSON.stringify(row))
  const stream = await client.query({ query: 'SELECT number FROM numbers(200000)', format: 'JSONCompactEachRow' })
  let count = 0
  for await (const rows of stream.stream()) count += rows.length
  const bound = await client.query({ query: 'SELECT {text:String} AS text', query_params: { text: "it's\t\\" }, format: 'JSONEachRow' })
  console.log(count, JSON.stringify(await bound.json()))
  await client.close()
}
