// fetch with its defaults. Usage: node fetch.js URL TOKEN, the bodies on standard input, one a line.
// Posts each in turn, and prints the answer: BODY <tab> STATUS <tab> LOCATION.
const { readFileSync } = require('node:fs')

const [url, token] = process.argv.slice(2)
const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }

async function main() {
  for (const body of readFileSync(0, 'utf-8').trimEnd().split('\n')) {
    const answer = await fetch(url, { method: 'POST', headers, body })
    console.log([await answer.text(), answer.status, answer.headers.get('location') ?? ''].join('\t'))
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
