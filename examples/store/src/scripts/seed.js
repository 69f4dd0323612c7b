// Puts into an empty store what a sale needs: `medusa exec ./src/scripts/seed.js <file> <items as JSON>`.
//
// The items are pairs of a name and how many of it are in stock. Writes the ids of what it made to the file, as JSON.

const { writeFileSync } = require("node:fs");
const flows = require("@medusajs/medusa/core-flows");
const { Modules } = require("@medusajs/framework/utils");

const CURRENCY = "eur";
const COUNTRY = "de";
const EUROPE = { name: "Europe", currency_code: CURRENCY, countries: [COUNTRY] };

module.exports = { default: seed };

async function seed({ container, args: [file, items] }) {
  const { channel, key } = await createChannel(container);
  const region = await create(container, flows.createRegionsWorkflow, {
    regions: [{ ...EUROPE, payment_providers: ["pp_system_default"] }],
  });
  const location = await createLocation(container, channel);
  const profile = await create(container, flows.createShippingProfilesWorkflow, {
    data: [{ name: "Default", type: "default" }],
  });
  const option = await createShippingOption(container, location, profile);
  const seeded = await createItems(container, { channel, location, profile }, Object.entries(JSON.parse(items)));
  const ids = { publishableKey: key.token, regionId: region.id, channelId: channel.id, optionId: option.id };
  writeFileSync(file, JSON.stringify({ ...ids, items: seeded }));
}

async function run(container, workflow, input) {
  const { result } = await workflow(container).run({ input });
  return result;
}

async function create(container, workflow, input) {
  const [made] = await run(container, workflow, input);
  return made;
}

async function createChannel(container) {
  const channel = await create(container, flows.createSalesChannelsWorkflow, { salesChannelsData: [{ name: "Web" }] });
  const key = await create(container, flows.createApiKeysWorkflow, {
    api_keys: [{ title: "Web", type: "publishable", created_by: "" }],
  });
  await run(container, flows.linkSalesChannelsToApiKeyWorkflow, { id: key.id, add: [channel.id] });
  return { channel, key };
}

async function createLocation(container, channel) {
  const location = await create(container, flows.createStockLocationsWorkflow, {
    locations: [{ name: "Warehouse", address: { address_1: "Hafen 1", city: "Hamburg", country_code: "DE" } }],
  });
  await container.resolve("link").create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_provider_id: "manual_manual" },
  });
  await run(container, flows.linkSalesChannelsToStockLocationWorkflow, { id: location.id, add: [channel.id] });
  return location;
}

async function createShippingOption(container, location, profile) {
  const [set] = await container.resolve(Modules.FULFILLMENT).createFulfillmentSets([
    {
      name: "Delivery",
      type: "shipping",
      service_zones: [{ name: "Germany", geo_zones: [{ country_code: COUNTRY, type: "country" }] }],
    },
  ]);
  await container.resolve("link").create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_set_id: set.id },
  });
  return create(container, flows.createShippingOptionsWorkflow, [
    {
      name: "Parcel",
      price_type: "flat",
      provider_id: "manual_manual",
      service_zone_id: set.service_zones[0].id,
      shipping_profile_id: profile.id,
      type: { label: "Parcel", description: "In two days.", code: "parcel" },
      prices: [{ currency_code: CURRENCY, amount: 5 }],
      rules: [
        { attribute: "enabled_in_store", value: "true", operator: "eq" },
        { attribute: "is_return", value: "false", operator: "eq" },
      ],
    },
  ]);
}

/** The variant and the inventory item of each, by name. */
async function createItems(container, { channel, location, profile }, items) {
  const products = await run(container, flows.createProductsWorkflow, {
    products: items.map(([name]) => ({
      title: name,
      status: "published",
      shipping_profile_id: profile.id,
      sales_channels: [{ id: channel.id }],
      options: [{ title: "Size", values: ["One"] }],
      variants: [
        {
          title: "One",
          sku: name,
          manage_inventory: true,
          options: { Size: "One" },
          prices: [{ currency_code: CURRENCY, amount: 20 }],
        },
      ],
    })),
  });
  const stocked = await container.resolve(Modules.INVENTORY).listInventoryItems({}, { take: null });
  const itemIds = new Map(stocked.map(({ sku, id }) => [sku, id]));
  await run(container, flows.createInventoryLevelsWorkflow, {
    inventory_levels: items.map(([name, stock]) => ({
      location_id: location.id,
      inventory_item_id: itemIds.get(name),
      stocked_quantity: stock,
    })),
  });
  const idsOf = ({ title, variants: [variant] }) => ({ variantId: variant.id, inventoryItemId: itemIds.get(title) });
  return Object.fromEntries(products.map((product) => [product.title, idsOf(product)]));
}
