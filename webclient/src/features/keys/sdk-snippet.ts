/** Ten lines of the stock SDK, ready to run with the key filled in. */
export function sdkSnippet(origin: string, key: string): string {
  return `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="${key}")
stream = client.responses.create(
    model=client.models.list().data[0].id,
    input="What can you see and hear?",
    stream=True,
)
for event in stream:
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)`;
}
